-- Which trace a run belongs to: the traceparent (W3C Trace Context) that mer was started with; '' without
-- one. An index of those that have one alone, for which the others do not pay.
ALTER TABLE model_access ADD COLUMN traceparent TEXT NOT NULL DEFAULT '';
CREATE INDEX model_access_trace ON model_access (traceparent, request_uid) WHERE traceparent <> '';
