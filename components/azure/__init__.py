"""What a stack creates on Azure, one component a module."""
