"""What a preview destroys, costs at worst, and breaks."""
