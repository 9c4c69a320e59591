"""The bucket: where each thing lies, the S3 client, and the ways in for inputs and weights. It knows no job's state."""
