-- Of a kept output of tensors: what its bytes are, so that two can be compared element by element.
ALTER TABLE model_access_io ADD COLUMN output_meta TEXT; -- array, a meta a part; NULL: just bytes
