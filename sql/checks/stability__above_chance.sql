-- Another draw may overlap as little as chance. The other variations keep the random numbers of the draw.
SELECT varied, seed, overlap, overlap_by_chance FROM stability
WHERE varied <> 'draw' AND overlap <= overlap_by_chance AND overlap < 1
ORDER BY varied, seed
