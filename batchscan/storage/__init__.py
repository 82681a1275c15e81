"""Where files lie: paths of this machine, and addresses on object stores."""
