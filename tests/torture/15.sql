CREATE TABLE app.nulls (a int UNIQUE NULLS NOT DISTINCT, b int);
CREATE VIEW app.invoked WITH (security_invoker) AS SELECT * FROM app.nulls;
CREATE PUBLICATION torture_schema FOR TABLES IN SCHEMA app;
CREATE PUBLICATION torture_rows FOR TABLE app.parent (id) WHERE (id > 5);
