"""What a stack creates on AWS, one component a module."""
