CREATE TABLE uploads (
  id VARCHAR(40) NOT NULL,
  filename TEXT NOT NULL,
  size BIGINT NOT NULL,
  content_type TEXT NOT NULL,
  "key" TEXT NOT NULL,
  info JSON NOT NULL,
  created_at DOUBLE NOT NULL,
  PRIMARY KEY (id)
);
CREATE INDEX ix_uploads_created_at ON uploads (created_at);
CREATE TABLE jobs (
  id VARCHAR(40) NOT NULL,
  upload_id VARCHAR(40) NOT NULL,
  state VARCHAR(10) NOT NULL,
  route VARCHAR(10),
  error TEXT,
  created_at DOUBLE NOT NULL,
  started_at DOUBLE,
  finished_at DOUBLE,
  PRIMARY KEY (id),
  FOREIGN KEY(upload_id) REFERENCES uploads (id)
);
CREATE INDEX ix_jobs_created_at ON jobs (created_at);
CREATE INDEX ix_jobs_state ON jobs (state);
CREATE INDEX ix_jobs_upload_id ON jobs (upload_id);
CREATE TABLE steps (
  id VARCHAR(40) NOT NULL,
  job_id VARCHAR(40) NOT NULL,
  position INTEGER NOT NULL,
  name TEXT NOT NULL,
  clip TEXT NOT NULL,
  start_s DOUBLE NOT NULL,
  end_s DOUBLE NOT NULL,
  kind VARCHAR(10) NOT NULL,
  aspect VARCHAR(10) NOT NULL,
  fit VARCHAR(10) NOT NULL,
  state VARCHAR(10) NOT NULL,
  stage VARCHAR(20),
  percent DOUBLE NOT NULL,
  fps DOUBLE,
  speed DOUBLE,
  eta_s DOUBLE,
  out_time_s DOUBLE,
  attempts INTEGER NOT NULL,
  route VARCHAR(10),
  error TEXT,
  output_key TEXT,
  output_size BIGINT,
  output_type TEXT,
  owner TEXT,
  lease_until DOUBLE,
  enqueued_at DOUBLE,
  PRIMARY KEY (id),
  FOREIGN KEY(job_id) REFERENCES jobs (id) ON DELETE CASCADE
);
CREATE INDEX ix_steps_job_id ON steps (job_id);
CREATE INDEX steps_by_state ON steps (state, lease_until);
