-- The server that is always there: the machine that mer itself runs on.

INSERT INTO servers (uid, name, kind) VALUES
	('01980000-0000-7000-8000-000000000001', 'local', 'local');
