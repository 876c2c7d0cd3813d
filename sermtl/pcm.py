"""What a sample is, in every corpus file: 16-bit PCM at 16 kHz, one channel."""

SAMPLE_RATE_HZ = 16_000
FULL_SCALE = 32768  # the magnitude of the most negative sample, taken as 1
LEAST_ENERGY = 1e-30  # sum of squares: a silent clip is divided by its root, and stays silent
