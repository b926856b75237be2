-- What residency_tables.sql leaves out until the rows are in: keys, indexes, sequence positions, views and
-- triggers.

-- Keys.
ALTER TABLE alembic_version ADD CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num);
ALTER TABLE users ADD PRIMARY KEY (id), ADD CONSTRAINT users_username_key UNIQUE (username);
ALTER TABLE people ADD PRIMARY KEY (id), ADD UNIQUE (staff_number), ADD UNIQUE (user_id);
ALTER TABLE academic_years ADD PRIMARY KEY (id), ADD UNIQUE (label);
ALTER TABLE blocks ADD PRIMARY KEY (id), ADD CONSTRAINT blocks_date_time_key UNIQUE (date, time_of_day);
ALTER TABLE activities ADD PRIMARY KEY (id), ADD UNIQUE (code);
ALTER TABLE rotation_templates ADD PRIMARY KEY (id), ADD UNIQUE (abbreviation);
ALTER TABLE template_half_days ADD PRIMARY KEY (template_id, day, time_of_day);
ALTER TABLE activity_requirements ADD PRIMARY KEY (id);
ALTER TABLE schedule_runs ADD PRIMARY KEY (id), ADD UNIQUE (run_number) DEFERRABLE INITIALLY IMMEDIATE;
ALTER TABLE assignments ADD PRIMARY KEY (id);
ALTER TABLE assignments ADD CONSTRAINT assignments_block_person_key UNIQUE (block_id, person_id);
ALTER TABLE absences ADD PRIMARY KEY (id);
ALTER TABLE leave_balances ADD PRIMARY KEY (person_id, academic_year_id);
ALTER TABLE call_assignments ADD PRIMARY KEY (id);
ALTER TABLE call_assignments ADD UNIQUE (call_date, person_id, kind);
ALTER TABLE "On-Call Note" ADD CONSTRAINT "On-Call Note PK" PRIMARY KEY ("Note ID");
ALTER TABLE swap_requests ADD PRIMARY KEY (id);
ALTER TABLE procedures ADD PRIMARY KEY (id), ADD UNIQUE (name);
ALTER TABLE credentials ADD PRIMARY KEY (person_id, procedure_id);
ALTER TABLE procedure_logs ADD PRIMARY KEY (id);
ALTER TABLE conflict_alerts ADD PRIMARY KEY (id);
ALTER TABLE attachments ADD PRIMARY KEY (id);
ALTER TABLE notifications ADD PRIMARY KEY (id);
ALTER TABLE audit_log ADD PRIMARY KEY (id, occurred_at);

-- A range of one number compares a person by a range operator, so that GiST needs no extension for equality.
ALTER TABLE academic_years ADD CONSTRAINT academic_years_do_not_overlap EXCLUDE USING gist (during WITH &&);
ALTER TABLE absences ADD CONSTRAINT absences_do_not_overlap
    EXCLUDE USING gist (int4range(staff_number, staff_number, '[]') WITH &&, away WITH &&)
    WHERE (kind <> 'tdy');

-- References.
ALTER TABLE people
    ADD FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE SET NULL,
    ADD CONSTRAINT people_mentor_fkey FOREIGN KEY (mentor_id) REFERENCES people (id)
        DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE rotation_templates ADD FOREIGN KEY (parent_id) REFERENCES rotation_templates (id);
ALTER TABLE template_half_days
    ADD FOREIGN KEY (template_id) REFERENCES rotation_templates (id) ON DELETE CASCADE,
    ADD FOREIGN KEY (activity_id) REFERENCES activities (id);
ALTER TABLE activity_requirements
    ADD CONSTRAINT activity_requirements_half_day_fkey FOREIGN KEY (template_id, day, time_of_day)
        REFERENCES template_half_days (template_id, day, time_of_day) ON UPDATE CASCADE ON DELETE CASCADE;
ALTER TABLE schedule_runs ADD FOREIGN KEY (started_by) REFERENCES users (id);
ALTER TABLE assignments
    ADD FOREIGN KEY (block_id) REFERENCES blocks (id),
    ADD FOREIGN KEY (person_id) REFERENCES people (id) ON DELETE CASCADE,
    ADD FOREIGN KEY (template_id) REFERENCES rotation_templates (id) ON DELETE SET NULL,
    ADD FOREIGN KEY (run_id) REFERENCES schedule_runs (id),
    ADD FOREIGN KEY (created_by) REFERENCES users (id),
    ADD CONSTRAINT assignments_supersedes_fkey FOREIGN KEY (supersedes_id) REFERENCES assignments (id)
        DEFERRABLE INITIALLY DEFERRED;
ALTER TABLE absences ADD FOREIGN KEY (staff_number) REFERENCES people (staff_number);
ALTER TABLE leave_balances
    ADD FOREIGN KEY (person_id) REFERENCES people (id),
    ADD FOREIGN KEY (academic_year_id) REFERENCES academic_years (id);
ALTER TABLE call_assignments ADD FOREIGN KEY (person_id) REFERENCES people (id);
ALTER TABLE "On-Call Note"
    ADD FOREIGN KEY ("callId") REFERENCES call_assignments (id) ON DELETE CASCADE,
    ADD FOREIGN KEY ("Author") REFERENCES users (id);
ALTER TABLE swap_requests
    ADD CONSTRAINT swap_requests_assignment_fkey FOREIGN KEY (block_id, source_person_id)
        REFERENCES assignments (block_id, person_id) MATCH FULL,
    ADD FOREIGN KEY (target_person_id) REFERENCES people (id);
ALTER TABLE credentials
    ADD FOREIGN KEY (person_id) REFERENCES people (id),
    ADD FOREIGN KEY (procedure_id) REFERENCES procedures (id),
    ADD FOREIGN KEY (verified_by) REFERENCES people (id);
ALTER TABLE procedure_logs
    ADD CONSTRAINT procedure_logs_credential_fkey FOREIGN KEY (person_id, procedure_id)
        REFERENCES credentials (person_id, procedure_id);
ALTER TABLE conflict_alerts
    ADD FOREIGN KEY (person_id) REFERENCES people (id),
    ADD FOREIGN KEY (assignment_id) REFERENCES assignments (id) ON DELETE SET NULL;
ALTER TABLE attachments ADD FOREIGN KEY (person_id) REFERENCES people (id);
ALTER TABLE notifications ADD FOREIGN KEY (user_id) REFERENCES users (id) ON DELETE CASCADE;
ALTER TABLE audit_log ADD FOREIGN KEY (user_id) REFERENCES users (id);

-- Indexes.
CREATE UNIQUE INDEX users_email_lower_idx ON users (lower(email));
CREATE INDEX people_specialties_idx ON people USING gin (specialties);
CREATE INDEX people_name_idx ON people (lower(last_name) text_pattern_ops, first_name DESC NULLS LAST);
CREATE INDEX rotation_templates_search_idx ON rotation_templates USING gin (search);
CREATE INDEX assignments_person_idx ON assignments (person_id) INCLUDE (role);
CREATE INDEX assignments_superseding_idx ON assignments (supersedes_id) WHERE supersedes_id IS NOT NULL;
CREATE UNIQUE INDEX swap_requests_one_pending_idx ON swap_requests (block_id, source_person_id)
    WHERE status = 'pending';
CREATE INDEX call_assignments_date_idx ON call_assignments USING brin (call_date);
CREATE INDEX conflict_alerts_open_idx ON conflict_alerts (severity DESC, created_at)
    WHERE acknowledged_at IS NULL;
CREATE INDEX conflict_alerts_details_idx ON conflict_alerts USING gin (details jsonb_path_ops);
CREATE INDEX notifications_unread_idx ON notifications (user_id, created_at DESC) WHERE read_at IS NULL;
CREATE INDEX audit_log_row_idx ON audit_log (table_name, occurred_at);
CREATE STATISTICS blocks_weekend_stats (dependencies) ON date, is_weekend FROM blocks;
CREATE INDEX "On-Call Note by Author" ON "On-Call Note" ("Author");

-- Positions of the sequences: the next value follows the last row loaded.
SELECT setval(pg_get_serial_sequence('people', 'staff_number'), max(staff_number)) FROM people;
SELECT setval(pg_get_serial_sequence('academic_years', 'id'), max(id)) FROM academic_years;
SELECT setval(pg_get_serial_sequence('activities', 'id'), max(id)) FROM activities;
SELECT setval(pg_get_serial_sequence('activity_requirements', 'id'), max(id)) FROM activity_requirements;
SELECT setval(pg_get_serial_sequence('call_assignments', 'id'), max(id)) FROM call_assignments;
SELECT setval(pg_get_serial_sequence('"On-Call Note"', 'Note ID'), max("Note ID")) FROM "On-Call Note";
SELECT setval(pg_get_serial_sequence('procedures', 'id'), max(id)) FROM procedures;
SELECT setval(pg_get_serial_sequence('procedure_logs', 'id'), max(id)) FROM procedure_logs;
SELECT setval('notification_id_seq', max(id)) FROM notifications;
SELECT setval('audit_log_id_seq', max(id)) FROM audit_log;
SELECT setval('schedule_run_number_seq', max(run_number)) FROM schedule_runs;
SELECT setval('pager_code_seq', pager_code) FROM people ORDER BY staff_number DESC LIMIT 1;

-- Views.
CREATE VIEW call_roster AS
    SELECT c.call_date, c.kind, p.display_name, (p.contact).phone AS phone, n."Text" AS note
    FROM call_assignments c
    JOIN people p ON p.id = c.person_id
    LEFT JOIN "On-Call Note" n ON n."callId" = c.id;
COMMENT ON VIEW call_roster IS 'What hangs on the wall.';

CREATE MATERIALIZED VIEW person_workload AS
    SELECT a.person_id, date_trunc('month', b.date::timestamp)::date AS month, count(*) AS half_days,
           count(*) FILTER (WHERE b.is_weekend) AS weekend_half_days
    FROM assignments a
    JOIN blocks b ON b.id = a.block_id
    GROUP BY 1, 2
    WITH DATA;
CREATE UNIQUE INDEX person_workload_key ON person_workload (person_id, month);

-- Triggers.
CREATE FUNCTION touch_updated_at() RETURNS trigger LANGUAGE plpgsql AS $function$
BEGIN
    NEW.updated_at := greatest(now(), OLD.updated_at);
    RETURN NEW;
END;
$function$;

CREATE FUNCTION write_audit_log() RETURNS trigger LANGUAGE plpgsql AS $function$
DECLARE
    old_row jsonb := CASE WHEN TG_OP <> 'INSERT' THEN to_jsonb(OLD) END;
    new_row jsonb := CASE WHEN TG_OP <> 'DELETE' THEN to_jsonb(NEW) END;
BEGIN
    INSERT INTO public.audit_log (occurred_at, table_name, action, row_id, changes)
    VALUES (now(), TG_TABLE_NAME, TG_OP, (coalesce(new_row, old_row) ->> 'id')::uuid,
            jsonb_build_object('old', old_row, 'new', new_row));
    RETURN NULL;
END;
$function$;

CREATE TRIGGER users_touch BEFORE UPDATE ON users
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER people_touch BEFORE UPDATE ON people
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER rotation_templates_touch BEFORE UPDATE ON rotation_templates
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER assignments_touch BEFORE UPDATE ON assignments
    FOR EACH ROW WHEN (OLD.* IS DISTINCT FROM NEW.*) EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER assignments_audit AFTER INSERT OR UPDATE OR DELETE ON assignments
    FOR EACH ROW EXECUTE FUNCTION write_audit_log();
CREATE TRIGGER absences_audit AFTER INSERT OR UPDATE OR DELETE ON absences
    FOR EACH ROW EXECUTE FUNCTION write_audit_log();
CREATE TRIGGER swap_requests_touch BEFORE UPDATE ON swap_requests
    FOR EACH ROW EXECUTE FUNCTION touch_updated_at();
CREATE TRIGGER swap_requests_audit AFTER UPDATE OF status OR DELETE ON swap_requests
    FOR EACH ROW EXECUTE FUNCTION write_audit_log();
