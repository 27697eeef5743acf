"""Programs that use Tenure, to read and to run. Nothing of Tenure depends on them."""
