-- Runs that did not end well are few, and looked for among many that did: an index of them alone, for
-- which the others do not pay.
CREATE INDEX model_access_failed ON model_access (status, request_uid)
	WHERE status <> 'ok' AND status <> 'queued' AND status <> 'running';
