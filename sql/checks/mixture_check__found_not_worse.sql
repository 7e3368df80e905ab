SELECT mean, low, high FROM mixture_verdict WHERE mixer = 'found' AND low > 0
