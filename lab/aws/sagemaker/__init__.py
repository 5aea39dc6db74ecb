"""The lab's SageMaker: the service's API on loopback, and training jobs that really run."""
