"""The U-Net and its heads, and the weights of others for them."""
