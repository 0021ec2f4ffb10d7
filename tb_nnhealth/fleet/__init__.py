"""Many runs: the scan of one, over any executor; what was found at the last look; jobs of many ranks."""
