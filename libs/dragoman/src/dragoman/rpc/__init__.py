"""gRPC: conversion between messages and our own types, errors, the server and its servicers."""
