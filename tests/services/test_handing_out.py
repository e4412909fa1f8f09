"""A folder streamed as a zip: what comes out is what lies in the folder, in pieces that are small beside it."""

import io
import zipfile
from pathlib import Path

from app.services.handing_out import PIECE, zipped


def test_a_folder_comes_out_whole_and_in_pieces(tmp_path: Path) -> None:
    weights = bytes(range(256)) * (PIECE // 64)
    (tmp_path / "tokens").mkdir()
    (tmp_path / "tokens" / "vocabulary.json").write_text('{"é": 1}')
    (tmp_path / "model.safetensors").write_bytes(weights)
    pieces = list(zipped(tmp_path))
    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        assert archive.namelist() == ["model.safetensors", "tokens/vocabulary.json"]
        assert archive.read("model.safetensors") == weights and archive.read("tokens/vocabulary.json").decode() == '{"é": 1}'
    assert max(map(len, pieces)) < PIECE + 1000 < len(weights)
