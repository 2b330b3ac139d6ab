"""Trained networks as files that other programs read: ONNX, torch.export's archive, safetensors."""
