package plan

import "flag"

// update makes the tests rewrite what they would compare: golden plans and the tables in docs/.
var update = flag.Bool("update", false, "rewrite golden files and generated documents")
