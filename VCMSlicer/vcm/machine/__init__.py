"""What the machine offers: devices, number formats, memory."""
