module realign

go 1.26.0
