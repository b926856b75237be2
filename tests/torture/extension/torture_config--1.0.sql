CREATE TABLE app.config (key text PRIMARY KEY, value text, own boolean DEFAULT true);
INSERT INTO app.config VALUES ('built in', 'comes with the extension', false);
SELECT pg_extension_config_dump('app.config', 'WHERE own');
CREATE TABLE app.config_log (id serial PRIMARY KEY, key text REFERENCES app.config, said text);
SELECT pg_extension_config_dump('app.config_log', '');
SELECT pg_extension_config_dump('app.config_log_id_seq', '');
CREATE TABLE app.not_config (a int);
