"""Every way people train, each with a watch and without: the same bits, the right numbers, nothing left behind."""
