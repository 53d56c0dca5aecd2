"""What several tests share: `studies` (small studies and their stages), `checkout` (a copy of the project in which the
real Snakemake runs), `layouts` (files as data sets have them), `miniatures` (fixtures that prepare those),
`default_study` (the numbers of the finished one).
"""
