SELECT section, value, n FROM judge_report WHERE section = 'bias by length' AND measure = 'epsilon2' AND value > 0.5
