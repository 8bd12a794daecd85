"""From images to a run directory: data, models, attacks, standard and hardened training. Needs torch."""
