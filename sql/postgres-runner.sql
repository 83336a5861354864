-- What the role mer_runner may do: run models and keep their record; not change what is known of
-- servers, models, deployments and weights, nor the record of a run that has ended.
--
-- For the owner of the tables, once they are made and again after each upgrade of them:
--
--	psql -v ON_ERROR_STOP=1 -f postgres-runner.sql postgres://mer_owner@HOST/mer
--
-- The role is made by an administrator before: CREATE ROLE mer_runner NOLOGIN. Whoever is to run
-- models becomes its member: GRANT mer_runner TO alice. To run this again changes nothing. Tables in
-- another schema than public: put its name in here. docs/postgres.md says what all this holds, and
-- what it does not.

BEGIN;

-- Up to Postgres 14 everybody may make tables there; where the schema is the administrator's, this
-- changes nothing but for a warning, and docs/postgres.md has the line for the administrator.
REVOKE CREATE ON SCHEMA public FROM PUBLIC;

-- From nothing, so that this file is all there is.
REVOKE ALL ON ALL TABLES IN SCHEMA public FROM mer_runner;
GRANT USAGE ON SCHEMA public TO mer_runner;

GRANT SELECT ON migrations, servers, models, deployments, model_weights, provenance, model_access,
	model_access_io, feedback, run_totals, owners TO mer_runner;

GRANT INSERT ON provenance, model_access, model_access_io, feedback TO mer_runner;

-- How a run goes on, where, and how it ends; neither which run it is nor who asked for it.
GRANT UPDATE (status, started_at, stopped_at, exit_code, signal, error, stderr_tail, attempts,
	queue_ms, start_ms, infer_ms, bytes_out, sha256_out, deployment_uid, server, provenance, cpu_us,
	max_rss_kib) ON model_access TO mer_runner;

-- A mer says that it is there and when it leaves, and forgets those that have died.
GRANT INSERT, DELETE ON owners TO mer_runner;

-- Columns are the business of grants, rows that of policies: nobody but the owner of the table
-- changes a run that has ended, whatever else may be granted to whom. One that is lost has not ended
-- for sure: a mer whose connection broke may have been taken for dead, and closes it yet. For all
-- other ways to it the policies permit what they would forbid by not being there.
DROP POLICY IF EXISTS mer_read ON model_access;
DROP POLICY IF EXISTS mer_insert ON model_access;
DROP POLICY IF EXISTS mer_close ON model_access;
DROP POLICY IF EXISTS mer_delete ON model_access;
CREATE POLICY mer_read ON model_access FOR SELECT USING (true);
CREATE POLICY mer_insert ON model_access FOR INSERT WITH CHECK (true);
CREATE POLICY mer_close ON model_access FOR UPDATE USING (stopped_at IS NULL OR status = 'lost')
	WITH CHECK (true);
CREATE POLICY mer_delete ON model_access FOR DELETE USING (true);
ALTER TABLE model_access ENABLE ROW LEVEL SECURITY;

COMMIT;
