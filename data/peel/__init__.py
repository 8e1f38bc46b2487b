"""Pictures to layers, for training data (paper §3.4, Appendix A): a photograph is taken apart, foremost object first."""
