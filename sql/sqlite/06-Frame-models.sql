-- Two more of the models that ship with mer, which speak the frame protocol: language (Python, with
-- the SDK) and moments-frame (C, by hand from docs/wire.md; answers as moments does).

INSERT INTO models (uid, name, summary) VALUES
	('01980000-0000-7000-8000-000000000014', 'language',
		'names the language of a text, of seven European ones'),
	('01980000-0000-7000-8000-000000000015', 'moments-frame',
		'mean and standard deviation of the numbers it is given, over the frame protocol');

INSERT INTO deployments (uid, name, model_uid, server_uid, protocol, workdir, argv, train_argv,
	params, limits, max_workers, idle_ms, timeout_ms, start_timeout_ms)
VALUES
	('01980000-0000-7000-8000-000000000024', 'local', '01980000-0000-7000-8000-000000000014',
		'01980000-0000-7000-8000-000000000001', 'frame', '{models}',
		'["{models}/language/language.py"]', NULL, '{}',
		'{"max_output":268435456,"max_queue":64}', 1, 300000, 3600000, 120000),
	('01980000-0000-7000-8000-000000000025', 'local', '01980000-0000-7000-8000-000000000015',
		'01980000-0000-7000-8000-000000000001', 'frame', '{models}',
		'["{models}/moments/moments_frame"]', NULL, '{}',
		'{"max_output":268435456,"max_queue":64}', 1, 300000, 3600000, 120000);
