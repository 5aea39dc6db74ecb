"""The lab's local Azure: Resource Manager, Azure Machine Learning's workspace and data plane, run history and blobs."""
