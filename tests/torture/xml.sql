UPDATE app.every_type SET x = '<?xml version="1.0"?><a b="c">&lt; ü</a>' WHERE id = 1;
