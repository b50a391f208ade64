"""Make the bucket of MLflow's artifacts, where it is missing; address and keys come from the environment."""

import os

import boto3

BUCKET = "mlflow"

s3 = boto3.client("s3", endpoint_url=os.environ["MLFLOW_S3_ENDPOINT_URL"])
if BUCKET not in [bucket["Name"] for bucket in s3.list_buckets()["Buckets"]]:
    s3.create_bucket(Bucket=BUCKET)
