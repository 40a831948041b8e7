"""Every benchmark, each with both sides in one run: `make bench`."""

from benchmarks import finetuning, margin, scoring, symbolic

if __name__ == "__main__":
    finetuning.main()
    scoring.main()
    margin.main()
    symbolic.main()
