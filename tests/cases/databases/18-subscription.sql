CREATE TABLE people (id int PRIMARY KEY, name text);
INSERT INTO people VALUES (1, 'a');
CREATE SUBSCRIPTION s18 CONNECTION 'host=127.0.0.1 port=1 dbname=pub18' PUBLICATION p WITH (connect = false, slot_name = 'sub18slot');
