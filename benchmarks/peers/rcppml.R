# Run as: Rscript peers/rcppml.R FOLDER RANK SEED
#
# Needs RcppML 0.3.7 (Debian: r-cran-rcppml). Reads the matrix that benchmarks.nmf has
# written to the folder, as its columns are compressed: genes x cells. Prints the seconds
# that the fit took, and saves the factors there.

suppressPackageStartupMessages({
  library(Matrix)
  library(RcppML)
})

arguments <- commandArgs(trailingOnly = TRUE)
folder <- arguments[1]
read <- function(name, what, n) {
  readBin(file.path(folder, name), what, n, size = if (what == "integer") 4 else 8)
}
shape <- read("shape", "integer", 2)
p <- read("indptr", "integer", shape[2] + 1)
n <- p[length(p)]
a <- new("dgCMatrix", Dim = shape, p = p, i = read("indices", "integer", n),
         x = read("data", "double", n))
setRcppMLthreads(as.integer(Sys.getenv("NONNEG_CPUS", "0")))
fit <- function() {
  nmf(a, as.integer(arguments[2]), tol = 1e-4, maxit = 200, verbose = FALSE,
      seed = as.integer(arguments[3]))
}
seconds <- system.time(found <- fit())[["elapsed"]]
writeBin(as.vector(found$w %*% diag(found$d)), file.path(folder, "w"))
writeBin(as.vector(found$h), file.path(folder, "h"))
cat(seconds, found$iter, "\n")
