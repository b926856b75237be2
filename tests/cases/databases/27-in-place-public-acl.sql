DO $$ BEGIN CREATE ROLE own LOGIN; EXCEPTION WHEN duplicate_object THEN NULL; END $$;
ALTER SCHEMA public OWNER TO own;
CREATE TABLE public.people (id int PRIMARY KEY); ALTER TABLE public.people OWNER TO own;
INSERT INTO public.people VALUES (1);
