"""parquet: Parquet files, one document per row. Columns that no setting names are not read."""

from collections.abc import Iterator

import pyarrow as pa
import pyarrow.parquet as pq

from grip_assets.sources.documents import RawDocument, Rejected
from grip_assets.sources.listing import Entry
from grip_assets.sources.readers.arrow import BATCH, dicts
from grip_assets.sources.readers.rows import TableReader, no_right, partitions_of, unreadable


class Parquet(TableReader):
    name = "parquet"
    endings = (".parquet", ".pq")
    magic = (b"PAR1",)
    described = "Parquet"

    def read(self, entry: Entry) -> Iterator[RawDocument | Rejected]:
        try:
            with entry.open() as raw:
                file = pq.ParquetFile(raw)
                partitions = partitions_of(entry.name)
                columns = self.rows.columns(file.schema_arrow, entry.name, partitions)
                number = 0
                for batch in file.iter_batches(batch_size=BATCH, columns=columns):
                    for row in dicts(batch):
                        number += 1
                        yield self.rows.document(partitions | row, entry.name, number)
        except PermissionError as error:
            yield no_right(entry, error)
        except (OSError, pa.ArrowException) as error:
            raise unreadable(entry, error) from error
