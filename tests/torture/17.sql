CREATE COLLATION app.builtin (provider = builtin, locale = 'C.UTF-8');
CREATE TABLE app.identity_parts (id int GENERATED ALWAYS AS IDENTITY, k int) PARTITION BY LIST (k);
CREATE TABLE app.identity_parts_1 PARTITION OF app.identity_parts FOR VALUES IN (1);
INSERT INTO app.identity_parts (k) VALUES (1), (1);
