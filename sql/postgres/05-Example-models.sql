-- The models that ship with mer, for a first look: iris (Python; keeps running, can be trained),
-- digest (Python; a process a run) and moments (C; keeps running). {models} is their folder,
-- wherever mer is installed. Remove them like any other: mer --allow-changes model remove iris

INSERT INTO models (uid, name, summary) VALUES
	('01980000-0000-7000-8000-000000000011', 'iris',
		'species of an iris by its sepal length and width, petal length and width in cm'),
	('01980000-0000-7000-8000-000000000012', 'digest',
		'bytes, lines, words and SHA-256 of its input'),
	('01980000-0000-7000-8000-000000000013', 'moments',
		'mean and standard deviation of the numbers it is given');

INSERT INTO deployments (uid, name, model_uid, server_uid, protocol, workdir, argv, train_argv,
	params, limits, max_workers, idle_ms, timeout_ms, start_timeout_ms)
VALUES
	('01980000-0000-7000-8000-000000000021', 'local', '01980000-0000-7000-8000-000000000011',
		'01980000-0000-7000-8000-000000000001', 'token', '{models}',
		'["{models}/iris/iris.py","serve","--weights","{weights}"]',
		'["{models}/iris/iris.py","train","--dataset","{dataset}","--weights","{new_weights}"]',
		'{"error_lines":["bad input: *"]}',
		'{"max_output":268435456,"max_queue":64}', 1, 300000, 3600000, 120000),
	('01980000-0000-7000-8000-000000000022', 'local', '01980000-0000-7000-8000-000000000012',
		'01980000-0000-7000-8000-000000000001', 'once', '{models}',
		'["{models}/digest/digest.py"]', NULL, '{}',
		'{"max_output":268435456,"max_queue":64}', 0, 300000, 3600000, 120000),
	('01980000-0000-7000-8000-000000000023', 'local', '01980000-0000-7000-8000-000000000013',
		'01980000-0000-7000-8000-000000000001', 'token', '{models}',
		'["{models}/moments/moments"]', NULL, '{"error_lines":["bad input: *"]}',
		'{"max_output":268435456,"max_queue":64}', 1, 300000, 3600000, 120000);

INSERT INTO model_weights (uid, model_uid, version, path, sha256, bytes, state) VALUES
	('01980000-0000-7000-8000-000000000031', '01980000-0000-7000-8000-000000000011', '1',
		'{models}/iris/weights/1.json',
		'0f59a8422747f32458e86f648cd17567a32eea131985becfccee8d8bd3d05a4e', 526, 'active');
