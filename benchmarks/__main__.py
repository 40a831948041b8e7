"""Every benchmark that fits into a quarter of an hour: `make bench`. `margin_cost` and `risk` take an hour each."""

from benchmarks import discovery, finetuning, forecast, margin, scoring, symbolic

if __name__ == "__main__":
    finetuning.main()
    scoring.main()
    margin.main()
    symbolic.main()
    forecast.main()
    discovery.main()
