"""Methods: each fills gradients for one step; whoever owns the loop steps."""
