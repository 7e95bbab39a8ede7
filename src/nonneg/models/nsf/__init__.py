"""Factor models with Gaussian-process priors: NSF, NSFH, PNMF, RSF, FA."""
