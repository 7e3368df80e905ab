import sys, time
sys.path.insert(0,'/work/main/tests')
def test_it(planted):
    from test_planted import kinds
    lab=planted
    import polars as pl
    pl.Config.set_tbl_rows(50); pl.Config.set_tbl_cols(30); pl.Config.set_tbl_width_chars(200)
    print(kinds(lab))
    from grip_assets.report.ladder import ladder
    from grip_assets.operations import Run
    print(ladder(lab.data, Run('',['evaluation'],[])))
    print(lab.sql("select strategy, split_part(source,'/',1) k, sum(n) from (select strategy, source, sum(s.n_tokens*repeats) n from strategies s join corpus using (doc_id) group by all) group by all order by all"))
from test_planted import planted
from conftest import *
