"""Every benchmark of a few minutes: `make bench`. `margin_cost` and `risk` take longer and draw into docs;
`endpoint` needs a server."""

from benchmarks import discovery, finetuning, forecast, margin, scoring, symbolic

if __name__ == "__main__":
    finetuning.main()
    scoring.main()
    margin.main()
    symbolic.main()
    forecast.main()
    discovery.main()
