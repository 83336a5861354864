-- What runs that were forgotten had counted, so that counters which are made of the log never fall. A
-- figure is a number of runs by how they ended (ok, failed ...), or of the times of those that ended ok:
-- how many there are (queue_count), their sum (queue_sum_ms), and how many of them are within a bound
-- and not within the next lower one (queue_le_250, in ms); the same for start and infer.
CREATE TABLE run_totals (
	series TEXT NOT NULL PRIMARY KEY, -- model, a slash, figure
	value  INTEGER NOT NULL,
	CONSTRAINT run_totals_series CHECK (series LIKE '_%/_%'),
	CONSTRAINT run_totals_value CHECK (value >= 0)
) STRICT, WITHOUT ROWID;

-- Before a worker starts those deployments are asked for that name secrets of the environment, which are few
-- among many.
CREATE INDEX deployments_with_secrets ON deployments (uid) WHERE replace(env, '"env:', '') <> env;
