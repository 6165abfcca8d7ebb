"""What a step of TopK training takes on a GPU, as Triton kernels. Triton comes with PyTorch's CUDA wheels."""
