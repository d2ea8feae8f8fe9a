#!/bin/sh
# Deploys P2.7 (quantum-portfolio-clusters) and proves it, as ops/deploy_and_proof.sh does any program.
#
# Usage: ops/p27_deploy_and_proof.sh [options]     exit codes and options: ops/deploy_and_proof.sh
set -eu
case $0 in */*) here=${0%/*} ;; *) here=. ;; esac
exec "$here/deploy_and_proof.sh" quantum-portfolio-clusters --operation "P2.7 Deploy — Portfolio Clusters" "$@"
