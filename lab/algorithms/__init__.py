"""SageMaker's built-in algorithms, as scripts that run inside a job.

They import nothing of the lab but each other: the folder is all of it that a job sees, as the
package ``algorithms``.
"""
