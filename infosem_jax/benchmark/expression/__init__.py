"""Methods of inferring expression compared on data sets, platforms and cohorts."""
