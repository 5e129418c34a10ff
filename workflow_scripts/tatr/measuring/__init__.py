"""What is measured on images: gradients, Fisher information, Gram matrices, accuracy."""
