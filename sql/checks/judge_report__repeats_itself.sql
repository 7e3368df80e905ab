SELECT dimension, value, n FROM judge_report
WHERE section = 'repeat' AND dimension = 'score' AND measure = 'weighted_kappa' AND value < 0.6
