CREATE TABLE app.virtual (a int, b int GENERATED ALWAYS AS (a * 2) VIRTUAL, c int GENERATED ALWAYS AS (a + 1) STORED);
INSERT INTO app.virtual (a) VALUES (1), (2);
CREATE TABLE app.not_enforced (a int CHECK (a > 0) NOT ENFORCED, b int);
INSERT INTO app.not_enforced VALUES (-1, NULL);
ALTER TABLE app.not_enforced ADD CONSTRAINT later_not_null NOT NULL b NOT VALID;
CREATE TABLE app.periods (room int, during daterange, PRIMARY KEY (room, during WITHOUT OVERLAPS));
INSERT INTO app.periods VALUES (1, '[2025-01-01,2025-02-01)'), (1, '[2025-02-01,2025-03-01)');
